-- breaker.lua: moves the breaker of an upstream by an event, as `upstream::Breaker::next` does.
-- KEYS[1]: the breaker, a hash: s its state, a since or until when, n and f how many calls have ended and failed,
--   p the probe, l the last failure. Absent: closed, and nothing is known.
-- ARGV: failures in percent, of, within in ms, open for in ms, LAST,
--   then reported CALLS FAILED | asked PROBE | probed PROBE is-well.
-- Returns: closed SINCE CALLS FAILED | open UNTIL CALLS FAILED | half-open UNTIL PROBE; then LAST, now.

local failures, of, within, open_for = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local event = ARGV[6]

local got = redis.call('HMGET', KEYS[1], 's', 'a', 'n', 'f', 'p', 'l')
local state, at = got[1] or 'closed', tonumber(got[2] or now)
local calls, failed = tonumber(got[3] or 0), tonumber(got[4] or 0)
local probe, last = got[5] or '', got[6] or ''

if state == 'closed' and event == 'reported' then
  if now - at >= within then
    at, calls, failed = now, 0, 0
  end
  calls, failed = calls + tonumber(ARGV[7]), failed + tonumber(ARGV[8])
  if calls >= of and failed * 100 >= failures * calls then
    state, at = 'open', now + open_for
  end
elseif state ~= 'closed' and event == 'asked' and now >= at then
  state, at, probe = 'half-open', now + open_for, ARGV[7]
elseif state == 'half-open' and event == 'probed' and probe == ARGV[7] then
  if ARGV[8] == '1' then
    state, at, calls, failed = 'closed', now, 0, 0
  else
    state, at, calls, failed = 'open', now + open_for, 1, 1
  end
end
if ARGV[5] ~= '' then last = ARGV[5] end

redis.call('HSET', KEYS[1], 's', state, 'a', at, 'n', calls, 'f', failed, 'p', probe, 'l', last)
-- An hour more than it is needed: the server's clock may not be the one that decides.
redis.call('PEXPIRE', KEYS[1], math.max(within, open_for) * 2 + 3600000)
if state == 'half-open' then return { state, at, probe, last, now } end
return { state, at, calls, failed, last, now }
