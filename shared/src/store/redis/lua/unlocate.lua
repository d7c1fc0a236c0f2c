-- unlocate.lua: takes back the locator of a run that is forgotten or was refused, unless it was asked for since.
-- KEYS[1]: the run's locator (see locate.lua).
-- ARGV: the partition that it names; then `forget` and for how many ms it must not have been asked for: it is gone; or
-- `free` and the time of the last question: it names no partition any more, but goes on counting its questions.
-- Returns: 1.

local got = redis.call('HMGET', KEYS[1], 'p', 'at')
if got[1] ~= ARGV[1] then return 1 end
local asked = tonumber(got[2] or 0)
if ARGV[2] == 'forget' and asked < now - tonumber(ARGV[3]) then redis.call('DEL', KEYS[1]) end
if ARGV[2] == 'free' and asked == tonumber(ARGV[3]) then
  redis.call('HDEL', KEYS[1], 'p')
  redis.call('PEXPIRE', KEYS[1], EARLY_KEPT)
end
return 1
