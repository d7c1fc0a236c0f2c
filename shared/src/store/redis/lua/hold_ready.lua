-- hold_ready.lua: hides runs that were taken for longer, or gives them back.
-- Reads: the ready set, the runs' revisions. Writes: the ready set; of runs that are given back, the lost plans.
-- ARGV: hold in ms, '1' if they are given back, then run id, expected revision, …
-- Returns: 1.

local hold, is_given_back = tonumber(ARGV[1]), ARGV[2] == '1'
for i = 3, #ARGV, 2 do
  local key = P .. 'run:' .. ARGV[i]
  if redis.call('ZSCORE', READY, ARGV[i]) and (redis.call('HGET', key, 'rev') or '0') == ARGV[i + 1] then
    -- A score with a half is that of a run which somebody has.
    redis.call('ZADD', READY, now + hold - (is_given_back and 0 or 0.5), ARGV[i])
    if is_given_back then redis.call('HDEL', key, 'lost') end
  end
end
return done(1)
