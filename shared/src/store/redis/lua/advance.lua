-- advance.lua: changes a run's plan if nobody else has: checkpoint, values, and the next step, a pause or the end.
-- Reads and writes: the run, its step, checkpoints, values, agenda, ready set, children; at the end its thread or parent.
-- ARGV: run id, expected revision, nonce, checkpoint's step or '', checkpoint, its versions (channel@version …), number
-- of values, then channel@version, value, …; then what follows:
--   step STEP CHUNKS is-staged TASKS, for how long a locator's answer holds in ms, CHILDREN then run id, when its locator
--   was asked, … of each, GROUPS then each as scope.lua has it, then #0, names, #0p, policies, and other field, value, … | pause STEP | succeed
--   fail FAILURE CAUSE or '' GRACE FORCE ACTOR has-reason REASON ORDER
-- Returns: ok | conflict | frozen (also if the step's child runs are too many: then a run is ordered to stop) | unstaged (stage the tasks again) | late (ask the locators again).

local id, expected, nonce = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local values = tonumber(ARGV[7])
local place = 8 + 2 * values
local kind = ARGV[place]

local run = run_at(id, { 'status', 'nonce', 'ckpt', 'resumed', 'prio', 'rev', 'started', 'open', 'step' }, 5)
local staged = P .. 'stage:' .. id .. ':' .. nonce
local function refuse(answer)
  redis.call('UNLINK', staged)
  return done({ answer })
end
if not run then return refuse('conflict') end
if run.nonce == nonce then return refuse('ok') end
if is_frozen(run) then return refuse('frozen') end
if run.rev ~= expected or run.started == 0 or run.status == 'interrupted' or run.open > 0 then
  return refuse('conflict')
end

local chunks = kind == 'step' and tonumber(ARGV[place + 2]) or 0
local is_staged = kind == 'step' and ARGV[place + 3] == '1'
if is_staged then
  for chunk = 0, chunks - 1 do
    if redis.call('HEXISTS', staged, '#' .. chunk) == 0 then return done({ 'unstaged' }) end
  end
end

local children_end = place + 6
if kind == 'step' then
  local holds = tonumber(ARGV[place + 5])
  children_end = place + 6 + 2 * tonumber(ARGV[place + 6])
  for i = place + 7, children_end, 2 do
    local asked = tonumber(ARGV[i + 1])
    local refused = tonumber(redis.call('GET', P .. 'refused:' .. ARGV[i]) or 0)
    if now > asked + holds or asked <= refused then return done({ 'late' }) end
  end
end

local function keep_checkpoint()
  local step, key = ARGV[4], P .. 'ckpt:' .. id
  if run.ckpt and tonumber(step) <= tonumber(run.ckpt) then redis.call('ZREMRANGEBYSCORE', key, step, step) end
  redis.call('ZADD', key, step, now .. '|' .. ARGV[5])
  for first = 8, 7 + 2 * values, 1000 do
    redis.call('HSET', P .. 'val:' .. id, unpack(ARGV, first, math.min(first + 999, 7 + 2 * values)))
  end
  put(run, 'ckpt', step)
  put(run, 'vers', ARGV[6])
  if run.step > 0 then redis.call('PEXPIRE', P .. 'step:' .. id .. ':' .. run.step, STEP_KEPT) end
end

-- Counts the tasks of one chunk and puts them on the agenda; notes those that children stand for, now or at their turn.
local function enlist(step, names, policies, children, waiting)
  local due = {}
  local next_policy = string.gmatch(policies, '[^\n]+')
  for name in string.gmatch(names, '[^\n]+') do
    local dispatch, length = string.match(next_policy(), '^(%a+)|[^|]*|%d+|%d+|%d+|%d+|%d|(%d+)')
    if dispatch == 'human' then
      put(run, 'humans', run.humans + 1)
    elseif dispatch ~= 'settled' then
      put(run, 'open', run.open + 1)
    end
    if dispatch == 'queue' or dispatch == 'wait' then
      due[#due + 1] = now + (dispatch == 'queue' and SEND_AFTER or tonumber(length))
      due[#due + 1] = id .. ' ' .. step .. ':' .. name
    elseif dispatch == 'child' then
      put(run, 'kids', run.kids + 1)
      children[#children + 1] = step .. ':' .. name
    elseif dispatch == 'pendingchild' then
      waiting[#waiting + 1] = step .. ':' .. name
    end
  end
  if #due > 0 then redis.call('ZADD', AGENDA, unpack(due)) end
end

local function make_child(task)
  if life().make_child(run, task) then return end
  local outcome, failure = life().own_words(task, 'child_taken')
  if is_frozen(run) then life().close_task(run, task, outcome, true) else settle_task(run, task, outcome, failure) end
end

local function make_step()
  local step = ARGV[place + 1]
  local groups = tonumber(ARGV[children_end + 1])
  local key, fields = P .. 'step:' .. id .. ':' .. step, children_end + groups + 2
  if is_staged then
    redis.call('RENAME', staged, key)
    redis.call('PERSIST', key)
    fields = #ARGV + 1
  end
  redis.call('HSET', key, '@', now .. '|' .. ARGV[place + 4], unpack(ARGV, fields, math.min(fields + 999, #ARGV)))
  for first = fields + 1000, #ARGV, 1000 do
    redis.call('HSET', key, unpack(ARGV, first, math.min(first + 999, #ARGV)))
  end
  for group = 1, groups do redis.call('HSET', key, '&' .. group - 1, ARGV[children_end + 1 + group]) end
  put(run, 'step', tonumber(step))
  put(run, 'status', 'running')
  put(run, 'open', 0)
  put(run, 'humans', 0)
  local children, waiting = {}, {}
  for chunk = 0, chunks - 1 do
    if is_staged then
      local got = redis.call('HMGET', key, '#' .. chunk, '#' .. chunk .. 'p')
      enlist(step, got[1], got[2], children, waiting)
    else
      enlist(step, ARGV[fields + 1], ARGV[fields + 3], children, waiting)
    end
  end
  if run.open == 0 then make_ready(run) else redis.call('ZREM', READY, id) end
  for _, name in ipairs(waiting) do life().reserve_child(run, task_at(run, name)) end
  for _, name in ipairs(children) do make_child(task_at(run, name)) end
end

local function fail()
  put(run, 'failure', ARGV[place + 1])
  if ARGV[place + 2] == '' then return life().finish(run, 'failed') end
  local order = { cause = ARGV[place + 2], grace = ARGV[place + 3], force = ARGV[place + 4], actor = ARGV[place + 5] }
  order.reason = ARGV[place + 6] == '1' and ARGV[place + 7]
  order.json = ARGV[place + 8]
  life().bear(run, order, now)
  put(run, 'closed', now)
  audit(id, order.force == '1' and 'force' or 'stop', order.actor, order.reason, 'accepted')
  return life().finish(run, life().end_of[order.cause])
end

-- How many child runs the step is to make, now or later, and the node of the first.
local function count_children()
  local count, node = 0, nil
  for chunk = 0, chunks - 1 do
    local names, policies
    if is_staged then
      local got = redis.call('HMGET', staged, '#' .. chunk, '#' .. chunk .. 'p')
      names, policies = got[1], got[2]
    else
      local fields = children_end + tonumber(ARGV[children_end + 1]) + 2
      names, policies = ARGV[fields + 1], ARGV[fields + 3]
    end
    if string.find(policies, 'child|', 1, true) then
      local next_policy = string.gmatch(policies, '[^\n]+')
      for name in string.gmatch(names, '[^\n]+') do
        local dispatch = string.match(next_policy(), '^(%a+)')
        if dispatch == 'child' or dispatch == 'pendingchild' then
          count, node = count + 1, node or string.match(name, '^[^:]+')
        end
      end
    end
  end
  return count, node
end

local children, first_node = count_children()
if children > 0 and not life().count_descendants(run, children, first_node) then return refuse('frozen') end
if ARGV[4] ~= '' then keep_checkpoint() end
put(run, 'rev', run.rev + 1)
put(run, 'nonce', nonce)
if run.resumed then put(run, 'resumed', false) end
if kind == 'step' then
  make_step()
elseif kind == 'pause' then
  put(run, 'status', 'interrupted')
  if tonumber(ARGV[place + 1]) ~= run.step then put(run, 'humans', 0) end
  put(run, 'step', tonumber(ARGV[place + 1]))
  redis.call('ZREM', READY, id)
elseif kind == 'succeed' then
  life().finish(run, 'succeeded')
else
  fail()
end
return done({ 'ok' })
