-- stop.lua: orders a run to stop, or keeps the order for a run that does not exist yet.
-- Reads and writes: the run, its children, its thread or parent, the early order, audit.
-- ARGV: run id, cause, grace or '', force 0 or 1, actor, has a reason 0 or 1, reason, the order as JSON without a time.
-- Returns: accepted REPORT | already REPORT | forced REPORT | finished STATUS | early.

local id = ARGV[1]
local order = { cause = ARGV[2], grace = ARGV[3], force = ARGV[4], actor = ARGV[5], json = ARGV[8] }
order.reason = ARGV[6] == '1' and ARGV[7]

local run = run_at(id,
  { 'status', 'thread', 'parent', 'takeback', 'ckpt', 'base', 'created', 'leases', 'kids', 'forced' }, 6)
if not run then
  local key = P .. 'early:' .. id
  local kept = redis.call('GET', key)
  if not kept then
    local text = table.concat({ order.cause, order.force, order.grace, now, 0, order.json }, '|')
    redis.call('SET', key, text, 'PX', EARLY_KEPT)
    redis.call('ZADD', FORGET, now + 2 * EARLY_KEPT, id .. ' -')
  elseif order.force == '1' then
    local early = life().parse_early(kept)
    if early.force ~= '1' and early.forced == '0' then
      local text = table.concat({ early.cause, early.force, early.grace, early.at, now, early.json }, '|')
      redis.call('SET', key, text, 'KEEPTTL')
    end
  end
  audit(id, order.force == '1' and 'force' or 'stop', order.actor, order.reason, 'early')
  return done({ 'early' })
end

local result = life().order_stop(run, order)
if result == 'finished' then return done({ result, run.status }) end
return done({ result, life().report(run) })
