-- Replaces the value at KEYS[1] by ARGV[2] with the offsets ARGV[1], unless those there are not
-- covered. Answers 1 if it did.
local there = redis.call('HGET', KEYS[1], 'o')
if there and not covers(ARGV[1], there) then
    return 0
end
redis.call('HSET', KEYS[1], 'o', ARGV[1], 'v', ARGV[2])
return 1
