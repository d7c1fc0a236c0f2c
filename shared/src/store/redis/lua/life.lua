-- life.lua: the third part of the prelude, for the scripts that may move a run: start, finish, stop, close, settle.
-- Reads and writes the run, its thread, its parent and its children, all in the partition. See docs/store.md.
-- With scope.lua it is the body of `make_life`, so that only a call that needs it pays for it; END_OF and WORDS come before.

local function start(run)
  put(run, 'started', now)
  put(run, 'deadline', now + run.timeout)
  local parent = run.parent and run_at(string.match(run.parent, '^([^|]+)'))
  if parent and parent.deadline > 0 and parent.deadline <= run.deadline then
    put(run, 'deadline', parent.deadline)
  else
    redis.call('ZADD', DEADLINES, run.deadline, run.id)
  end
  local base = run.from or not run.parent and redis.call('HGET', P .. 'thread:' .. run.thread, 'head')
  if base then put(run, 'base', base) end
  make_ready(run)
end

-- Moves the thread's head and starts its next run; a run that still waits only leaves the queue.
local function leave_thread(run)
  local thread, queue = P .. 'thread:' .. run.thread, P .. 'queue:' .. run.thread
  if redis.call('HGET', thread, 'active') ~= run.id then
    redis.call('LREM', queue, 1, run.id)
    return
  end
  if run.takeback then
    if run.base then redis.call('HSET', thread, 'head', run.base) else redis.call('HDEL', thread, 'head') end
  elseif run.ckpt then
    redis.call('HSET', thread, 'head', run.id .. '|' .. run.ckpt)
  end
  local following = redis.call('LPOP', queue)
  if following then
    redis.call('HSET', thread, 'active', following)
    start(run_at(following))
  else
    redis.call('HDEL', thread, 'active')
  end
end

local close_if_idle

-- Settles a task that was open when its run froze: a leased one, or one that stands for a child. True if that ended the
-- run.
local function close_task(run, task, outcome, is_confirmed)
  local open = task.state == 'child' and 'kids' or 'leases'
  if has_lease(task) then unschedule(task) end
  record_settled(task, outcome)
  put(run, open, run[open] - 1)
  put(run, 'open', run.open - 1)
  if run.status ~= 'stopping' then return false end
  local how = is_confirmed and 'released' or 'unconfirmed'
  put(run, how, run[how] + 1)
  return close_if_idle(run)
end

-- A failure as one text.
local function tell(failure)
  local text = (failure.node and 'node `' .. failure.node .. '`: ' or '') .. failure.message
  for _, inner in ipairs(failure.chain or {}) do text = text .. ': ' .. inner end
  return text
end

-- The failure of a child that has ended, as JSON, or false.
local function failure_of_child(child)
  if child.status == 'succeeded' then return false end
  return rawget(child, 'failure') or redis.call('HGET', child.key, 'failure')
end

local function child_outcome(child)
  local failure = failure_of_child(child)
  local why = failure and ',"failure":' .. failure or ''
  return '{"outcome":"child_ended","run":"' .. child.id .. '","status":"' .. child.status .. '"' .. why .. '}'
end

-- A failure's JSON with what lay under it.
local function over(json, text)
  local chain = '"chain":[' .. cjson.encode(text) .. '],"node":'
  return (string.gsub(json, '"node":', function() return chain end, 1))
end

-- The failure that the end of a child is for its task, or false.
local function child_failure(task, child)
  if child.status == 'succeeded' then return false end
  local node = string.match(task.name, '^[^:]+')
  local failure = { message = WORDS.child_ended.message, json = WORDS.child_ended.json }
  for field, text in pairs(failure) do
    text = string.gsub(text, '__child__', child.id)
    text = string.gsub(text, '__status__', child.status)
    failure[field] = (string.gsub(text, '__node__', node))
  end
  local why = failure_of_child(child)
  if why then failure.json = over(failure.json, tell(cjson.decode(why))) end
  return failure
end

-- A child has ended: its parent's task is settled.
local function leave_parent(run)
  local id, task_id = string.match(run.parent, '^([^|]+)|([^|]+)')
  local parent = run_at(id)
  local task = parent and task_at(parent, task_id)
  if not task or task.state ~= 'child' then return end
  redis.call('SREM', P .. 'kids:' .. id, run.id)
  local outcome = child_outcome(run)
  if is_frozen(parent) then
    close_task(parent, task, outcome, not run.order or run.unconfirmed == 0)
    return
  end
  local order = run.order and order_of(task)
  if order and order.is_skip then
    settle_stopped(parent, task, WORDS.stopped)
    return
  end
  settle_task(parent, task, outcome, child_failure(task, run))
end

local function finish(run, status)
  if run.status ~= 'stopping' then
    redis.call('ZREM', READY, run.id)
    redis.call('ZREM', DEADLINES, run.id)
  end
  put(run, 'status', status)
  put(run, 'ended', now)
  redis.call('ZREM', LIVE, run.id)
  if status ~= 'succeeded' then redis.call('ZADD', P .. 'end:' .. status, run.created, run.id) end
  redis.call('ZADD', FORGET, now + RETENTION, run.id .. ' ' .. run.thread)
  redis.call('HINCRBY', P .. 'ends', status .. '|' .. (run.cause or ''), 1)
  if run.parent then leave_parent(run) else leave_thread(run) end
end

-- The report of a run under an order, as JSON. The order itself passes through untouched.
local function report(run)
  local text = '{"order":' .. run.order
  if run.forced > 0 then text = text .. ',"forced_at":' .. run.forced end
  text = text .. ',"leases":' .. run.sleases .. ',"released":' .. run.released .. ',"unconfirmed":' .. run.unconfirmed
  if run.closed > 0 then text = text .. ',"closed_at":' .. run.closed end
  return text .. '}'
end

close_if_idle = function(run)
  if run.status ~= 'stopping' or run.leases > 0 or run.kids > 0 then return false end
  put(run, 'closed', now)
  finish(run, END_OF[run.cause])
  return true
end

-- Orders: { cause, grace or '', force '0' or '1', actor, reason or false, json }, where json lacks the time.

local function bear(run, order, at)
  run.given = order
  put(run, 'order', string.sub(order.json, 1, -2) .. ',"at":' .. at .. '}')
  put(run, 'cause', order.cause)
  put(run, 'ordered', at)
  put(run, 'grace', order.grace)
  put(run, 'force', order.force)
  put(run, 'released', 0)
  put(run, 'unconfirmed', 0)
end

local function push_stop(run)
  if run.leases > 0 then redis.call('PUBLISH', CHANNEL_STOP, run.id .. ' ' .. run.created .. ' ' .. report(run)) end
end

local function cascade(run, order, at)
  if run.kids == 0 then return end
  for _, id in ipairs(redis.call('SMEMBERS', P .. 'kids:' .. run.id)) do
    local child = run_at(id)
    if child then give_order(child, order, at) end
  end
end

give_order = function(run, order, at)
  if FINAL[run.status] then return run.order and 'already' or 'finished' end
  if run.status == 'stopping' then
    if order.force ~= '1' or run.force == '1' or run.forced > 0 then return 'already' end
    put(run, 'forced', at)
    push_stop(run)
    cascade(run, order, at)
    return 'forced'
  end
  put(run, 'status', 'stopping')
  bear(run, order, at)
  put(run, 'sleases', run.leases + run.kids)
  redis.call('ZREM', READY, run.id)
  redis.call('ZREM', DEADLINES, run.id)
  push_stop(run)
  cascade(run, order, at)
  close_if_idle(run)
  return 'accepted'
end

-- An order with its entry in the audit trail.
local function order_stop(run, order)
  local result = give_order(run, order, now)
  audit(run.id, order.force == '1' and 'force' or 'stop', order.actor, order.reason, result)
  return result
end

local function own_order(cause, actor, reason)
  local json = cjson.encode({ cause = cause, actor = actor, reason = reason, force = false })
  return { cause = cause, grace = '', force = '0', actor = actor, reason = reason, json = json }
end

-- A task has failed the run beside others that are open.
local function fail_siblings(run, task, failure)
  put(run, 'failure', failure.json)
  order_stop(run, own_order('sibling_failed', 'node ' .. string.match(task.name, '^[^:]+'), failure.message))
end

-- Money that is spent. A budget is TOKENS|COST|TOOL-CALLS|DESCENDANTS, each or '', spent is IN|OUT|COST|TOOL-CALLS; costs in millionths.

local SPENT = '^(%d+)|(%d+)|(%d+)|(%d+)$'

local function overrun(budget, input, output, cost, calls)
  local tokens_max, cost_max, calls_max = string.match(budget, '^(%d*)|(%d*)|(%d*)|')
  local over
  if tokens_max ~= '' and input + output > tonumber(tokens_max) then
    over = tokens_max .. ' tokens'
  elseif cost_max ~= '' and cost > tonumber(cost_max) then
    over = 'cost ' .. string.format('%.14g', tonumber(cost_max) / 1e6)
  elseif calls_max ~= '' and calls > tonumber(calls_max) then
    over = calls_max .. ' tool calls'
  else
    return nil
  end
  local text = string.format('its budget of %s is used up: it has spent %.0f tokens (%.0f in, %.0f out)', over,
    input + output, input, output)
  if cost > 0 then text = text .. ', cost ' .. string.format('%.14g', cost / 1e6) end
  if calls > 0 then text = text .. ', ' .. string.format('%.0f', calls) .. ' tool calls' end
  return text
end

-- What of the amounts that a task's attempt has spent, all in all, no renewal has told before. `goes_on`: this one does.
local function uncounted(task, amounts, goes_on)
  local n, max = tonumber, math.max
  local input, output, cost, calls = string.match(amounts, SPENT)
  input, output, cost, calls = n(input), n(output), n(cost), n(calls)
  local kept = task.counted or redis.call('HGET', task.key, task.name .. '|m') or ''
  local fence, a, b, c, d = string.match(kept, '^(%d+)|(%d+)|(%d+)|(%d+)|(%d+)$')
  if n(fence or -1) ~= task.fence then a, b, c, d = 0, 0, 0, 0 end
  a, b, c, d = n(a), n(b), n(c), n(d)
  if goes_on then
    task.counted = string.format('%.0f|%.0f|%.0f|%.0f|%.0f', task.fence, max(input, a), max(output, b), max(cost, c),
      max(calls, d))
    attach(task, 'm', task.counted)
  end
  return max(input - a, 0), max(output - b, 0), max(cost - c, 0), max(calls - d, 0)
end

-- Adds what a task has spent to its run and to those above; orders those to stop whose budget that is over.
local function spend(run, task, amounts, goes_on)
  if amounts == '' then return end
  local node, n = string.match(task.name, '^[^:]+'), tonumber
  local input, output, cost, calls = uncounted(task, amounts, goes_on)
  if input + output + cost + calls == 0 then return end
  while run do
    local a, b, c, d = string.match(run.spent or '0|0|0|0', SPENT)
    a, b, c, d = n(a) + input, n(b) + output, n(c) + cost, n(d) + calls
    put(run, 'spent', string.format('%.0f|%.0f|%.0f|%.0f', a, b, c, d))
    local over = run.budget and not is_frozen(run) and overrun(run.budget, a, b, c, d)
    if over then
      put(run, 'failure', cjson.encode({ kind = 'exhausted', message = over, node = node }))
      order_stop(run, own_order('budget', 'node ' .. node, over))
    end
    run = run.parent and run_at(string.match(run.parent, '^([^|]+)'))
  end
end

-- How many child runs a run may have at every depth, or false: a child is limited by its own graph's word alone.
local function descendants_max(run)
  return tonumber(run.budget and string.match(run.budget, '(%d*)$') or '') or not run.parent and DESCENDANTS
end

-- Counts child runs that a step of a run is to make, in it and in those above; or, if one of them has no room for so
-- many, orders that one to stop, and says false.
local function count_descendants(run, count, node)
  local above, family = run, {}
  while above do
    local max = descendants_max(above)
    if max and above.kin + count > max then
      local text = string.format(OVER_DESCENDANTS, max, above.kin, count)
      put(above, 'failure', cjson.encode({ kind = 'exhausted', message = text, node = node }))
      order_stop(above, own_order('budget', 'node ' .. node, text))
      return false
    end
    family[#family + 1] = above
    local parent, task = string.match(above.parent or '', '^([^|]+)|%d+:([^:|]+)')
    node = task or node
    above = parent and run_at(parent)
  end
  for _, relative in ipairs(family) do put(relative, 'kin', relative.kin + count) end
  return true
end

local UNITS = { { 'd', 86400000 }, { 'h', 3600000 }, { 'm', 60000 }, { 's', 1000 }, { 'ms', 1 } }

-- A duration as people write it: 1h30m.
local function show(ms)
  local text = ''
  for _, unit in ipairs(UNITS) do
    if ms >= unit[2] then
      text = text .. math.floor(ms / unit[2]) .. unit[1]
      ms = ms % unit[2]
    end
  end
  return text == '' and '0s' or text
end

-- The store's own bad outcomes: WORDS[name], filled in, with the last try's failure if there was one. Returns the
-- outcome and its failure.
local function own_words(task, name)
  local word = WORDS[name]
  local blanks = { node = string.match(task.name, '^[^:]+'), crashes = task.crashes, beside = task.beside, child = task.child }
  if name == 'queue_timeout' then blanks.pool = string.gsub(task.lane or '', '^%a+:', '') end
  blanks.length = show(name == 'queue_timeout' and task.queue_timeout or task.timeout)
  local message = string.gsub(word.message, '__(%a+)__', blanks)
  local json = string.gsub(word.json, '__(%a+)__', blanks)
  local last = redis.call('HGET', task.key, task.name .. '|f')
  if last then json = over(json, 'its last try: ' .. tell(cjson.decode(last))) end
  local outcome = string.gsub(word.outcome, '__failure__', function() return json end)
  return outcome, { json = json, message = message }
end

local function settle_as(run, task, name)
  local outcome, failure = own_words(task, name)
  settle_task(run, task, outcome, failure)
end

local function queue_again(run, task)
  put(run, 'leases', run.leases - 1)
  task.state, task.queued, task.sent = 'queued', now, '0'
  save(task)
end

-- The attempt of a leased task has crashed. It counts if it ran alone. True if that was the last crash that is allowed.
local function crash(run, task)
  task.attempts, task.answer = task.attempts - 1, ''
  if task.alone == '2' then
    task.crashes, task.blamed = task.crashes + 1, task.fence
  else
    task.beside = task.beside + 1
  end
  if task.crashes >= task.max_crashes or task.beside >= UNCOUNTED_MAX then
    redis.call('HINCRBY', P .. 'ends', 'task|crashed', 1)
    settle_as(run, task, 'crashed')
    return true
  end
  queue_again(run, task)
  return false
end

-- Runs to be made: lines of id, thread, graph, hash, run_timeout (after a plus the priority if it is not normal, after a bar the budget), what it goes on from, parent and spec; absent ones are empty.

local function parse_new(text)
  local new = {}
  new.id, new.thread, new.graph, new.hash, new.timeout, new.prio, new.budget, new.from, new.parent, new.spec =
    string.match(text, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n(%d+)%+?(%a*)|?([^\n]*)\n([^\n]*)\n([^\n]*)\n(.*)$')
  return new
end

local function make_run(new)
  local run = { id = new.id, key = P .. 'run:' .. new.id, dirty = {} }
  local fields, texts = run_fields()
  for i, field in ipairs(fields) do run[field] = i > texts and 0 end
  redis.call('HSET', run.key, 'v', FORMAT, 'graph', new.graph, 'hash', new.hash, 'spec', new.spec)
  put(run, 'status', 'queued')
  put(run, 'thread', new.thread)
  put(run, 'created', now)
  put(run, 'timeout', tonumber(new.timeout))
  if new.prio ~= '' then put(run, 'prio', new.prio) end
  if new.budget ~= '' then put(run, 'budget', new.budget) end
  if new.from ~= '' then put(run, 'from', new.from) end
  if new.parent ~= '' then put(run, 'parent', new.parent) end
  redis.call('ZADD', INDEX, now, run.id)
  redis.call('ZADD', LIVE, now, run.id)
  redis.call('ZADD', P .. 'of:' .. run.thread, now, run.id)
  runs[run.id] = run
  return run
end

-- Early orders: one text cause|force|grace|at|forced_at|json; the locator's comes first, the partition's may force it.

local function parse_early(text)
  local early = {}
  early.cause, early.force, early.grace, early.at, early.forced, early.json =
    string.match(text, '^(%a[%a_]*)|(%d)|(%d*)|(%d+)|(%d+)|(.*)$')
  return early
end

local function early_order(id, located)
  local kept = redis.call('GET', P .. 'early:' .. id)
  if kept then redis.call('DEL', P .. 'early:' .. id) end
  local first = located ~= '' and parse_early(located) or kept and parse_early(kept)
  if first and located ~= '' and kept and first.force ~= '1' and first.forced == '0' then
    local second = parse_early(kept)
    first.forced = second.force == '1' and second.at or second.forced
  end
  return first
end

-- Ends a run that was ordered to stop before it was made.
local function end_early(run, early)
  bear(run, early, early.at)
  put(run, 'forced', tonumber(early.forced))
  put(run, 'closed', now)
  finish(run, END_OF[early.cause])
end

-- The child run of a task, made and started, or ended at once by an order that came before it; false if another run has
-- its id.
local function make_child(run, task)
  local got = redis.call('HMGET', task.key, task.name .. '|c', task.name .. '|e')
  local new = parse_new(got[1])
  task.child = new.id
  if got[2] == 'taken' or run_at(new.id) then return false end
  redis.call('DEL', P .. 'reserved:' .. new.id)
  redis.call('SADD', P .. 'kids:' .. run.id, new.id)
  local early = early_order(new.id, got[2] or '')
  if run.given and not early then
    -- An earlier child has failed the run: the order that it is under came before this one was made.
    early = run.given
    early.at, early.forced = now, 0
  end
  local child = make_run(new)
  if early then end_early(child, early) else start(child) end
  return child
end

admit_child = function(run, task)
  local child = make_child(run, task)
  if not child then
    settle_as(run, task, 'child_taken')
    return false
  end
  if FINAL[child.status] then
    redis.call('SREM', P .. 'kids:' .. run.id, child.id)
    settle_task(run, task, child_outcome(child), child_failure(task, child))
    return false
  end
  task.state, task.admitted = 'child', now
  attach(task, 'a', now)
  put(run, 'kids', run.kids + 1)
  return true
end

-- Keeps the id of a child that is made once it is its turn: nobody else is to be given its locator, which is forgotten at
-- last if the turn never comes.
local function reserve_child(run, task)
  local new = parse_new(redis.call('HGET', task.key, task.name .. '|c'))
  redis.call('SET', P .. 'reserved:' .. new.id, run.id, 'PX', math.max(run.deadline - now, 0) + REFUSED_KEPT)
  redis.call('ZADD', FORGET, 'NX', run.deadline + RETENTION, new.id .. ' ' .. new.thread)
end

return { words = WORDS, spend = spend, count_descendants = count_descendants, order_of = order_of, report_of = report_of,
  settle_stopped = settle_stopped, halt_all = halt_all,
  settled_in_group = settled_in_group, end_of = END_OF, start = start, finish = finish, report = report, bear = bear,
  order_stop = order_stop, own_order = own_order, close_task = close_task, fail_siblings = fail_siblings,
  own_words = own_words, settle_as = settle_as, queue_again = queue_again, crash = crash, parse_new = parse_new,
  make_run = make_run, parse_early = parse_early, end_early = end_early, early_order = early_order,
  make_child = make_child, reserve_child = reserve_child }
