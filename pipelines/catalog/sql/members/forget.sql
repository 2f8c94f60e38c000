DELETE FROM members WHERE group_name = $1 AND until_us <= $2
