-- claim.lua: gives a worker a queued task of the step in flight, or one whose holder is silent.
-- Reads: the run and those above it, the task, the values that it reads. Writes: the run, the task, the agenda; by a timeout or a last
-- crash what settle writes.
-- ARGV: run id, task id, worker, nonce, ttl in ms, take over after so many ms of silence or '', is-alone.
-- Returns: stale | stopped | suspect | busy WORKER FENCE SILENT | poisoned CRASHES UNCOUNTED | leased FENCE ATTEMPT
-- CRASHES TASK GRAPH-HASH THREAD NOW TASK-DEADLINE RUN-DEADLINE is-taken-over QUEUED-AT limits-cost RUN-MADE-AT, then
-- { channel@version, value, … }.

local worker, nonce, ttl, patience, alone = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]

local run = run_at(ARGV[1],
  { 'status', 'thread', 'hash', 'vers', 'parent', 'budget', 'step', 'deadline', 'fence', 'leases', 'created' }, 6)
local task = run and task_at(run, ARGV[2], '|d', '|r')
if not task or task.step ~= run.step or (FINAL[run.status] and not run.order) then return done({ 'stale' }) end
if is_frozen(run) then return done({ 'stopped' }) end

-- The versions of the channels that the task reads, of all channels if it names none.
local function versions_of(all, reads)
  if not reads then return all end
  local versions, wanted = {}, {}
  for name in string.gmatch(all, '[^ ]+') do versions[string.match(name, '^[^@]+')] = name end
  for name in string.gmatch(reads, '[^ ]+') do wanted[#wanted + 1] = versions[name] end
  return table.concat(wanted, ' ')
end

-- Whether the run or one above it has a budget TOKENS|COST|TOOL-CALLS that names a cost.
local function limits_cost()
  local above = run
  while above do
    if above.budget and string.find(above.budget, '^%d*|%d') then return '1' end
    above = above.parent and run_at(string.match(above.parent, '^([^|]+)'), { 'status', 'parent', 'budget' }, 3)
  end
  return '0'
end

local function leased()
  local planned, reads = task.more[1], task.more[2]
  if not planned then error('COXCORRUPT ' .. task.key .. ' the task ' .. task.name .. ' has no plan') end
  local values = values_of(run.id, versions_of(run.vers or '', reads))
  return done({ 'leased', task.fence, task.attempts, task.crashes + task.beside, planned, run.hash, run.thread, now,
    own_deadline(run, task), run.deadline, task.taken, task.queued, limits_cost(), run.created, values })
end

local function lease(taken)
  put(run, 'fence', run.fence + 1)
  put(run, 'leases', run.leases + 1)
  task.state, task.fence, task.attempts, task.taken = 'leased', run.fence, task.attempts + 1, taken
  task.nonce, task.worker, task.renewed, task.alone, task.answer = nonce, worker, now, alone, ''
  if task.started == 0 then task.started = now end
  save(task)
  schedule(task, now + ttl)
  return leased()
end

local is_overdue = now >= run.deadline
if task.state == 'queued' then
  if is_overdue or time_out(run, task) then return done({ 'stale' }) end
  if alone == '0' and task.crashes + task.beside > 0 then return done({ 'suspect' }) end
  return lease('0')
end
if has_lease(task) and task.nonce == nonce then return leased() end
if task.state ~= 'leased' then return done({ 'stale' }) end

local silent = math.max(now - task.renewed, 0)
if not patience or silent < patience then return done({ 'busy', task.worker, task.fence, silent }) end
if is_overdue then return done({ 'stale' }) end
if life().crash(run, task) then return done({ 'poisoned', task.crashes, task.beside }) end
if time_out(run, task) then return done({ 'stale' }) end
if alone == '1' then return lease('1') end
-- Its message is in the hands of the one who asks.
task.sent = '1'
schedule(task, math.min(now + SUSPECT_RESENT, own_deadline(run, task), queue_deadline(run, task)))
return done({ 'suspect' })
