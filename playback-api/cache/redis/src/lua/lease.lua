-- Gives the lease KEYS[1] to ARGV[1] for ARGV[2] milliseconds if it is free or already theirs.
-- Answers 1 if it did.
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then
    return 0
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
