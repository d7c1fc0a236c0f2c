-- workers.lua: reads the workers that were seen of late.
-- KEYS[1], KEYS[2]: as in report_worker.lua.
-- ARGV: how late in ms, the most of them, how many to skip.
-- Returns: seen at, record, …

local answer = {}
local seen = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now - tonumber(ARGV[1]), '+inf', 'WITHSCORES', 'LIMIT',
  ARGV[3], ARGV[2])
for i = 1, #seen, 2 do
  answer[i] = seen[i + 1]
  answer[i + 1] = redis.call('HGET', KEYS[2], seen[i]) or ''
end
return answer
