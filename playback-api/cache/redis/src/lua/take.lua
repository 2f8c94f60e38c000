-- Takes one unit from the bucket ARGV[1] by the generic cell rate algorithm: a unit comes back
-- every ARGV[2] microseconds, up to ARGV[3]. KEYS[1] holds for each bucket when it will be full
-- again, and no more than ARGV[4] buckets. Answers 0, or in how many milliseconds to try again.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local each = tonumber(ARGV[2])
local room = each * tonumber(ARGV[3])

local full = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or now)
-- The upper bound matters when the clock was set back: then the bucket is empty, not locked.
full = math.min(math.max(full, now), now + room)
local wait = full + each - room - now
if wait > 0 then
    return math.ceil(wait / 1000)
end

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now))
redis.call('ZADD', KEYS[1], string.format('%.0f', full + each), ARGV[1])
local over = redis.call('ZCARD', KEYS[1]) - tonumber(ARGV[4])
if over > 0 then
    redis.call('ZPOPMIN', KEYS[1], over)
end
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
redis.call('PEXPIREAT', KEYS[1], string.format('%.0f', math.ceil(tonumber(last) / 1000)))
return 0
