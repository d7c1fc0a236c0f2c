-- create.lua: makes a run without parent, and starts it if its thread is free.
-- Reads and writes: the run, its thread and its queue, runs that it supersedes, the early order, indexes, audit.
-- ARGV: the run (see parse_new), its strategy, the locator's early order or '', when the locator was asked, and for how
-- long that holds in ms.
-- Returns: exists STATUS | made STATUS | busy ACTIVE | full | late (locate again).

local new = life().parse_new(ARGV[1])
local strategy, located, asked, holds = ARGV[2], ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local refused = P .. 'refused:' .. new.id

local there = run_at(new.id)
if there then return done({ 'exists', there.status }) end
if now > asked + holds or asked <= tonumber(redis.call('GET', refused) or 0) then return done({ 'late' }) end

-- A run that goes on where another has ended is somebody's resume.
local function made(run)
  local origin, step = string.match(new.from, '^([^|]+)|(%d+)$')
  if origin then
    local spec = cjson.decode(new.spec)
    audit(run.id, 'resume', spec.actor or '', spec.reason, 'from run ' .. origin .. ' step ' .. step)
  end
  return done({ 'made', run.status })
end

local early = life().early_order(new.id, located)
if early then
  local run = life().make_run(new)
  life().end_early(run, early)
  return made(run)
end

local thread, queue = P .. 'thread:' .. new.thread, P .. 'queue:' .. new.thread
local active = redis.call('HGET', thread, 'active')
if not active then
  redis.call('HSET', thread, 'v', FORMAT, 'active', new.id)
  local run = life().make_run(new)
  life().start(run)
  return made(run)
end

local refusal = strategy == 'reject' and { 'busy', active }
  or strategy == 'enqueue' and redis.call('LLEN', queue) >= QUEUE_MAX and { 'full' }
if refusal then
  -- The locator was written for nothing. The adapter takes it back, so who asked it before must ask it again; if the
  -- adapter dies over it, a sweep does.
  redis.call('SET', refused, asked, 'PX', 2 * holds)
  redis.call('ZADD', FORGET, now + REFUSED_KEPT, new.id .. ' ' .. new.thread)
  return done(refusal)
end

local run = life().make_run(new)
if strategy == 'enqueue' then
  redis.call('RPUSH', queue, new.id)
  return made(run)
end

local order = life().own_order('superseded', 'run ' .. new.id, 'superseded by run ' .. new.id)
for _, id in ipairs(redis.call('LRANGE', queue, 0, -1)) do
  local waiting = run_at(id)
  if waiting then life().order_stop(waiting, order) else redis.call('LREM', queue, 1, id) end
end
redis.call('LPUSH', queue, new.id)
local displaced = run_at(active)
if displaced then
  if strategy == 'rollback' then put(displaced, 'takeback', '1') end
  life().order_stop(displaced, order)
end
return made(run)
