-- Offset vectors are text: `partition:next` joined by spaces, in decimal without leading zeros.
-- A Lua number holds 53 bits and an offset has 64, so offsets are compared by length, then by
-- their first ten digits, then by the rest.

local function less(a, b)
    if #a ~= #b then
        return #a < #b
    end
    local high_a, high_b = tonumber(string.sub(a, 1, 10)), tonumber(string.sub(b, 1, 10))
    if high_a ~= high_b then
        return high_a < high_b
    end
    return (tonumber(string.sub(a, 11)) or 0) < (tonumber(string.sub(b, 11)) or 0)
end

local function covers(new, old)
    local reached = {}
    for partition, next in string.gmatch(new, '(%d+):(%d+)') do
        reached[partition] = next
    end
    for partition, next in string.gmatch(old, '(%d+):(%d+)') do
        if less(reached[partition] or '0', next) then
            return false
        end
    end
    return true
end

