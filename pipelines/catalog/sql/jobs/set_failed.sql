UPDATE videos SET playback = 'failed', failure = $2, poster_name = NULL, poster_bytes = NULL WHERE id = $1
