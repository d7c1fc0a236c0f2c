-- release.lua: closes a lease without an outcome; the last one under a stop order ends the run.
-- Reads and writes: the run, the task, the agenda; when it ends the run, its thread or parent.
-- ARGV: run id, task id, fence, what was spent (see life.lua), OUTCOME, PROOF, is-confirmed, was-it-stopped.
-- Returns: accepted has-run-ended | back TIMES without-order | stale.

local run = run_at(ARGV[1])
local task = run and task_at(run, ARGV[2])
if not task then return done({ 'stale' }) end

local fence = ARGV[3]
local did, ended = string.match(task.answer, '^release:(%d+):(%d)$')
if did == fence then return done({ 'accepted', ended }) end
local back, times, unordered = string.match(task.answer, '^back:(%d+):(%d+):(%d)$')
if back == fence then return done({ 'back', times, unordered }) end
if not has_lease(task) or task.fence ~= tonumber(fence) then return done({ 'stale' }) end

if ARGV[4] ~= '' then life().spend(run, task, ARGV[4]) end

if is_frozen(run) or task.state == 'stopping' then
  local outcome, proof, is_confirmed = ARGV[5], ARGV[6], ARGV[7] == '1'
  attach(task, 'x', proof)
  if not is_frozen(run) then
    life().settle_stopped(run, task, outcome)
    task.answer = 'release:' .. fence .. ':0'
    return done({ 'accepted', '0' })
  end
  local has_ended = life().close_task(run, task, outcome, is_confirmed) and '1' or '0'
  task.answer = 'release:' .. fence .. ':' .. has_ended
  return done({ 'accepted', has_ended })
end

-- No order: the task is tried again, at once unless that happens again and again.
local before = string.match(redis.call('HGET', task.key, task.name .. '|b') or '', '^%d+')
times, unordered = tonumber(before or 0) + 1, ARGV[8]
attach(task, 'b', times .. '|' .. unordered)
task.attempts, task.answer = task.attempts - 1, 'back:' .. fence .. ':' .. times .. ':' .. unordered
if times <= BACK_AT_ONCE then
  life().queue_again(run, task)
  schedule(task, now)
else
  put(run, 'leases', run.leases - 1)
  task.state = 'delayed'
  local pause = math.min(BACK_PAUSE * 2 ^ (times - BACK_AT_ONCE - 1), BACK_PAUSE_MAX)
  schedule(task, math.min(now + pause, own_deadline(run, task)))
end
return done({ 'back', times, unordered })
