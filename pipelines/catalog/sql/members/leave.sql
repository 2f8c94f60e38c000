DELETE FROM members WHERE group_name = $1 AND member = $2
