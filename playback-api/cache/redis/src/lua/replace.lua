-- Puts the ranking staged at KEYS[2], which has ARGV[2] members and the offsets ARGV[1], in the
-- place of the one at KEYS[1], unless those there are not covered. Answers 1 if it did, 0 if not,
-- and -1 if a part of what was staged is gone.
local head = redis.call('ZRANGE', KEYS[1], 0, 0)[1]
if head and not covers(ARGV[1], string.sub(head, 2)) then
    redis.call('UNLINK', KEYS[2])
    return 0
end
if redis.call('ZCARD', KEYS[2]) ~= tonumber(ARGV[2]) then
    redis.call('UNLINK', KEYS[2])
    return -1
end
redis.call('UNLINK', KEYS[1])
redis.call('RENAME', KEYS[2], KEYS[1])
redis.call('PERSIST', KEYS[1])
return 1
