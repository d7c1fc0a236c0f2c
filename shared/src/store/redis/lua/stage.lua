-- stage.lua: puts tasks of a step to come aside, where nobody sees them until advance takes them over.
-- Writes: stage:RUN:NONCE, a step's hash in the making, which is gone after a while if advance does not take it.
-- ARGV: run id, nonce, field, value, …
-- Returns: 1. Repeating it changes nothing.

local key = P .. 'stage:' .. ARGV[1] .. ':' .. ARGV[2]
for first = 3, #ARGV, 1000 do
  redis.call('HSET', key, unpack(ARGV, first, math.min(first + 999, #ARGV)))
end
redis.call('PEXPIRE', key, STAGED_KEPT)
return done(1)
