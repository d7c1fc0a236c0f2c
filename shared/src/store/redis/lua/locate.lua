-- locate.lua: says in which partition a run that is to be made belongs, and hands out an order that came before it.
-- KEYS[1]: the run's locator, a hash: p its partition, at when that was last asked by a maker, each time later than
-- before, and order (see parse_early) if one came.
-- ARGV: the partition for it, another partition that is known to lack it or '', how long p must stand before it is
-- given away, in ms.
-- Returns: partition, early order or '', the time of this question.

local got = redis.call('HMGET', KEYS[1], 'p', 'at', 'order')
local place, order, asked = got[1], got[3] or '', now
if place and place == ARGV[2] and now - tonumber(got[2]) > tonumber(ARGV[3]) then place = false end
if not place or place == ARGV[1] then
  place = ARGV[1]
  asked = math.max(now, tonumber(got[2] or 0) + 1)
  redis.call('HSET', KEYS[1], 'p', place, 'at', asked)
  redis.call('PERSIST', KEYS[1])
end
local given = tonumber(string.match(order, '^[^|]*|[^|]*|[^|]*|(%d+)') or 0)
if order ~= '' and now - given > EARLY_KEPT then order = '' end
return { place, order, asked }
