UPDATE jobs SET epoch = epoch WHERE id = $1 AND epoch = $2 AND state = 'leased' RETURNING video_id
