-- load.lua: reads how a pool is judged, or keeps a judgement unless another scheduler's holds.
-- KEYS[1]: the judgement, a hash of by, json and until.
-- ARGV: by, or '' to read only; the judgement as JSON; for how long it holds in ms.
-- Returns: the judgement that holds, or nothing.

local kept = redis.call('HMGET', KEYS[1], 'by', 'json', 'until')
local holds = kept[3] and now < tonumber(kept[3])
if ARGV[1] == '' or (holds and kept[1] ~= ARGV[1]) then return { holds and kept[2] or '' } end
redis.call('HSET', KEYS[1], 'by', ARGV[1], 'json', ARGV[2], 'until', now + tonumber(ARGV[3]))
-- A minute more than it holds: the server's clock may not be the one that decides.
redis.call('PEXPIRE', KEYS[1], tonumber(ARGV[3]) + 60000)
return { ARGV[2] }
