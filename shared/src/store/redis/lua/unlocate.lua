-- unlocate.lua: takes back the locator of a run that is forgotten, unless somebody is making the run again.
-- KEYS[1]: the run's locator (see locate.lua).
-- ARGV: the partition that has forgotten it, for how long it must not have been asked for, in ms.
-- Returns: 1.

local got = redis.call('HMGET', KEYS[1], 'p', 'at')
if got[1] == ARGV[1] and now - tonumber(got[2] or 0) > tonumber(ARGV[2]) then redis.call('DEL', KEYS[1]) end
return 1
