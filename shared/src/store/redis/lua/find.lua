-- find.lua: says where a run is that is to be stopped, or keeps the order until it is made.
-- KEYS[1]: the run's locator (see locate.lua).
-- ARGV: cause, force 0 or 1, grace or '', the order as JSON without a time.
-- Returns: partition, or '' if the order was kept.

local got = redis.call('HMGET', KEYS[1], 'p', 'order')
if got[1] then return got[1] end
local cause, force, grace, at, forced, json =
  string.match(got[2] or '', '^(%a[%a_]*)|(%d)|(%d*)|(%d+)|(%d+)|(.*)$')
if not cause or now - tonumber(at) > EARLY_KEPT then
  cause, force, grace, at, forced, json = ARGV[1], ARGV[2], ARGV[3], now, 0, ARGV[4]
  redis.call('HSET', KEYS[1], 'order', table.concat({ cause, force, grace, at, forced, json }, '|'))
  redis.call('PEXPIRE', KEYS[1], EARLY_KEPT)
elseif ARGV[2] == '1' and force == '0' and forced == '0' then
  redis.call('HSET', KEYS[1], 'order', table.concat({ cause, force, grace, at, now, json }, '|'))
end
return ''
