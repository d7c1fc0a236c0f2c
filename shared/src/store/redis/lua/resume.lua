-- resume.lua: takes answers to the questions of an interrupted run, and lets it go on once none is open.
-- Reads and writes: the run, the tasks, the ready set, audit.
-- ARGV: run id, nonce, actor, has a reason 0 or 1, reason, then task id, outcome, …
-- Returns: ok | still_open COUNT | not_interrupted STATUS | unknown_task | missing_answer | not_found.

local id, nonce, actor, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4] == '1' and ARGV[5]

local function answer(result, status)
  audit(id, 'resume', actor, reason, result)
  return done({ result, status })
end

local run = run_at(id)
if not run then return answer('not_found') end
if run.rnonce == nonce then
  if run.status == 'interrupted' and run.humans > 0 then return done({ 'still_open', run.humans }) end
  return done({ 'ok' })
end
if run.status ~= 'interrupted' then return answer('not_interrupted', run.status) end

local answered = {}
for i = 6, #ARGV, 2 do
  local task = task_at(run, ARGV[i])
  if not task or task.step ~= run.step or task.state ~= 'human' then return answer('unknown_task') end
  answered[#answered + 1] = { task = task, outcome = ARGV[i + 1] }
end
if #answered == 0 and run.humans > 0 then return answer('missing_answer') end

if #answered == 0 then put(run, 'resumed', '1') end
for _, pair in ipairs(answered) do record_settled(pair.task, pair.outcome) end
put(run, 'humans', run.humans - #answered)
put(run, 'rnonce', nonce)
if run.humans > 0 then
  audit(id, 'resume', actor, reason, 'ok')
  return done({ 'still_open', run.humans })
end
put(run, 'status', 'running')
put(run, 'rev', run.rev + 1)
make_ready(run)
return answer('ok')
