-- stop_tasks.lua: orders tasks of one node, in the step in flight, to stop; the rest of the run goes on.
-- Reads and writes: the run, the tasks, the agenda, their group, their child runs; what settle writes; audit.
-- ARGV: run id, node, items as numbers with blanks between or '' for all, is-skipped, then the order as stop.lua has it:
-- cause, grace or '', force 0 or 1, actor, has a reason 0 or 1, reason, JSON without a time; and what the outcome has
-- beside its kind, as JSON.
-- Returns: not_found | frozen STATUS | done SETTLED STOPPING ALREADY.

local id, node = ARGV[1], ARGV[2]
local order = { is_skip = ARGV[4] == '1', cause = ARGV[5], grace = ARGV[6], force = ARGV[7], actor = ARGV[8],
  json = ARGV[11], ending = ARGV[12] }
order.reason = ARGV[9] == '1' and ARGV[10]

local run = run_at(id)
if not run then return done({ 'not_found' }) end
if is_frozen(run) then
  audit(id, 'stop_tasks', order.actor, order.reason, node .. ': ' .. run.status)
  return done({ 'frozen', run.status })
end

-- The node's items, from the lists of names.
local function all_items()
  local key, items = P .. 'step:' .. id .. ':' .. run.step, {}
  local count = tonumber(string.match(redis.call('HGET', key, '@') or '', '|(%d+)$') or 0)
  for chunk = 0, math.ceil(count / CHUNK) - 1 do
    for name in string.gmatch(redis.call('HGET', key, '#' .. chunk) or '', '[^\n]+') do
      local of, item = string.match(name, '^(.+):(%d+)$')
      if of == node then items[#items + 1] = tonumber(item) end
    end
  end
  return items
end

local items = {}
for item in string.gmatch(ARGV[3], '%d+') do items[#items + 1] = tonumber(item) end
if #items == 0 then items = all_items() end
table.sort(items)
local ids = {}
for i, item in ipairs(items) do ids[i] = run.step .. ':' .. node .. ':' .. item end

local settled, stopping, already = life().halt_all(run, ids, order)
audit(id, 'stop_tasks', order.actor, order.reason,
  node .. ': ' .. settled .. ' settled, ' .. stopping .. ' stopping, ' .. already .. ' already')
return done({ 'done', settled, stopping, already })
