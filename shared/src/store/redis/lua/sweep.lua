-- sweep.lua: does what is overdue in one partition, within limits.
-- Reads and writes: deadlines, agenda, the runs and tasks named there, and what stop, settle and crash write; runs that
-- are no longer kept.
-- ARGV: most tasks, most runs, resend after ms, ahead ms.
-- Returns: tasks to send { lane, run, task, again, … }; expired; poisoned { run, task, … }; queue timeouts; runs past
-- their deadline { id, … }; is there more; what is forgotten { entry, run id, … }: the adapter takes back their locators.

local AHEAD_LOOKED_AT = 5000
local tasks_max, runs_max = tonumber(ARGV[1]), tonumber(ARGV[2])
local resend_after, ahead = tonumber(ARGV[3]), tonumber(ARGV[4])
local send, poisoned, late, forgotten = {}, {}, {}, {}
local expired, queue_timeouts = 0, 0

local function stop_overdue(id)
  local run = run_at(id)
  if not run or is_frozen(run) then
    redis.call('ZREM', DEADLINES, id)
    return
  end
  life().order_stop(run, life().own_order('deadline', 'scheduler', 'its run_timeout has passed'))
  late[#late + 1] = id
end

local function send_queued(run, task)
  local limit = time_out(run, task)
  if limit then
    if limit == 'queue_timeout' then queue_timeouts = queue_timeouts + 1 end
    return
  end
  task.is_handed_out = true
  for _, field in ipairs({ task.lane, run.id, task.id, task.sent }) do send[#send + 1] = field end
  schedule(task, math.min(now + resend_after, own_deadline(run, task), queue_deadline(run, task)))
end

local function expire_stopped(run, task)
  expired = expired + 1
  task.answer = ''
  life().close_task(run, task, life().words.stopped, false)
end

local function handle_due(run, task)
  if now >= run.deadline then
    schedule(task, now + resend_after)
  elseif task.state == 'queued' then
    send_queued(run, task)
  elseif task.state == 'delayed' then
    task.state, task.queued, task.sent = 'queued', now, '0'
    save(task)
    send_queued(run, task)
  elseif task.state == 'waiting' then
    settle_task(run, task, life().words.waited, false)
  elseif task.state == 'stopping' then
    expired = expired + 1
    task.answer = ''
    life().settle_stopped(run, task, life().words.stopped)
  elseif task.state == 'leased' then
    expired = expired + 1
    if life().crash(run, task) then
      poisoned[#poisoned + 1] = run.id
      poisoned[#poisoned + 1] = task.id
    else
      send_queued(run, task)
    end
  else
    unschedule(task)
  end
end

local function visit(entry)
  local id, task_id = string.match(entry, '^([^ ]+) (.+)$')
  local run = run_at(id)
  local task = run and task_at(run, task_id)
  if run and is_frozen(run) then
    if task and has_lease(task) then expire_stopped(run, task) else redis.call('ZREM', AGENDA, entry) end
  elseif not task or task.step ~= run.step then
    redis.call('ZREM', AGENDA, entry)
  else
    handle_due(run, task)
  end
end

-- Hands out queued tasks that fall due within `ahead`; looks at a bounded number of entries for them.
local function send_ahead(most)
  local found, looked_at = {}, 0
  while #found < most and looked_at < AHEAD_LOOKED_AT do
    local coming = redis.call('ZRANGEBYSCORE', AGENDA, '(' .. now, now + ahead, 'LIMIT', looked_at, 200)
    for _, entry in ipairs(coming) do
      local id, task_id = string.match(entry, '^([^ ]+) (.+)$')
      local run = run_at(id)
      local task = run and not is_frozen(run) and now < run.deadline and task_at(run, task_id)
      local is_queued = task and task.state == 'queued' and task.step == run.step and not task.is_handed_out
      if is_queued and #found < most then
        found[#found + 1] = { run = run, task = task }
      end
    end
    looked_at = looked_at + #coming
    if #coming < 200 then break end
  end
  for _, pair in ipairs(found) do send_queued(pair.run, pair.task) end
  return #found
end

-- What is no longer kept: indexes at once, the locator by the adapter, which then strikes the entry off.
local function forget(entry)
  local id, thread = string.match(entry, '^([^ ]+) (.+)$')
  local status, ended, created, step
  local got = redis.call('HMGET', P .. 'run:' .. id, 'status', 'ended', 'step')
  status, ended, step = got[1], tonumber(got[2] or 0), got[3] or '0'
  if status and not FINAL[status] then
    redis.call('ZREM', FORGET, entry)
    return
  end
  local keeper = redis.call('HMGET', P .. 'thread:' .. thread, 'head', 'active')
  local is_head = keeper[1] and string.match(keeper[1], '^[^|]+') == id
  if status and (ended + RETENTION > now or (is_head and keeper[2])) then
    redis.call('ZADD', FORGET, math.max(ended + RETENTION, now + REFUSED_KEPT), entry)
    return
  end
  if not keeper[2] and (is_head or not keeper[1]) then redis.call('DEL', P .. 'thread:' .. thread) end
  for _, index in ipairs({ INDEX, LIVE, P .. 'end:failed', P .. 'end:timed_out', P .. 'end:cancelled',
    P .. 'of:' .. thread }) do
    redis.call('ZREM', index, id)
  end
  redis.call('UNLINK', P .. 'run:' .. id, P .. 'ckpt:' .. id, P .. 'val:' .. id, P .. 'ev:' .. id, P .. 'kids:' .. id,
    P .. 'early:' .. id, P .. 'step:' .. id .. ':' .. step)
  forgotten[#forgotten + 1] = entry
  forgotten[#forgotten + 1] = id
end

local function due(set, most)
  return redis.call('ZRANGEBYSCORE', set, '-inf', now, 'LIMIT', 0, most)
end

local runs_due = due(DEADLINES, runs_max)
for _, id in ipairs(runs_due) do stop_overdue(id) end
local tasks_due = due(AGENDA, tasks_max)
for _, entry in ipairs(tasks_due) do visit(entry) end
local visited = #tasks_due
if ahead > 0 then visited = visited + send_ahead(tasks_max - visited) end
for _, entry in ipairs(due(FORGET, runs_max)) do forget(entry) end
local more = (visited >= tasks_max or #runs_due >= runs_max) and '1' or '0'
return done({ send, expired, poisoned, queue_timeouts, late, more, forgotten })
