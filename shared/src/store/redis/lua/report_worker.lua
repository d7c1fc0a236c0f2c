-- report_worker.lua: records a worker as seen now.
-- KEYS[1]: the workers, a set by the time they were seen; KEYS[2]: their records, a hash. Both share a slot.
-- ARGV: worker id, its record as JSON, after how many ms a silent worker is forgotten.
-- Returns: 1.

redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('HSET', KEYS[2], ARGV[1], ARGV[2])
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - tonumber(ARGV[3]), 'LIMIT', 0, 100)) do
  redis.call('ZREM', KEYS[1], id)
  redis.call('HDEL', KEYS[2], id)
end
return 1
