-- refuse.lua: leaves word that children of a refused change will not be made, so that their locators may be taken back.
-- Reads: the runs. Writes: refused:RUN, and the list of what is to be forgotten, should the adapter die over it.
-- ARGV: for how long a locator's answer holds in ms, then run id, thread, when its locator was asked, …
-- Returns: for each 1, or 0 if there is such a run, which somebody else has made.

local answers = {}
for i = 2, #ARGV, 3 do
  local id, thread, asked = ARGV[i], ARGV[i + 1], ARGV[i + 2]
  if redis.call('EXISTS', P .. 'run:' .. id) == 1 then
    answers[#answers + 1] = '0'
  else
    answers[#answers + 1] = '1'
    redis.call('SET', P .. 'refused:' .. id, asked, 'PX', 2 * tonumber(ARGV[1]))
    redis.call('ZADD', FORGET, 'NX', now + REFUSED_KEPT, id .. ' ' .. thread)
  end
end
return done(answers)
