-- emit.lua: adds events of a run and keeps the newest; those of a run that is unknown or frozen are dropped.
-- Reads: the run. Writes: the run's count of events, ev:RUN.
-- ARGV: run id, event as JSON, …
-- Returns: 1.

local run = run_at(ARGV[1], { 'status' }, 1)
if not run or is_frozen(run) then return done(0) end
local key = P .. 'ev:' .. run.id
local last = redis.call('HINCRBY', run.key, 'events', #ARGV - 1)
for i = 2, #ARGV do
  local seq = last - #ARGV + i
  redis.call('ZADD', key, seq, seq .. '|' .. now .. '|' .. ARGV[i])
end
redis.call('ZREMRANGEBYRANK', key, 0, -EVENTS_MAX - 1)
return done(1)
