SELECT member FROM members WHERE group_name = $1 AND until_us > $2 ORDER BY member
