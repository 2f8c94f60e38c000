UPDATE jobs SET epoch = epoch WHERE id = $1 AND epoch >= $2 - 1000 AND $2 > 0 AND state = 'leased' RETURNING video_id
