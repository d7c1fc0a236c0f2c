-- admit.lua: decides whether an upstream may be called now, by `upstream::admit` (GCRA); if so, the call counts.
-- KEYS[1]: the upstream's theoretical arrival time, in microseconds; gone where it is past.
-- ARGV: the interval in microseconds, the burst.
-- Returns: admitted | after MS.

local interval, burst = tonumber(ARGV[1]), tonumber(ARGV[2])
local at = now * 1000
local arrival = tonumber(redis.call('GET', KEYS[1]) or at)
-- A clock that was set back, or a rate that was changed, must not shut anybody out.
arrival = math.max(at, math.min(arrival, at + interval * burst))
local wait = arrival - at - interval * (burst - 1)
if wait > 0 then return { 'after', math.ceil(wait / 1000) } end
-- A minute more than it is needed: the server's clock may not be the one that decides.
local kept = math.ceil(interval * burst / 1000) + 60000
redis.call('SET', KEYS[1], string.format('%.0f', arrival + interval), 'PX', kept)
return { 'admitted' }
