-- meter.lua: counts in a policy's window, as `policy::Window::count` does.
-- KEYS[1]: the window, a hash: MEASURE.PART is how much of a measure was used in a part of it.
-- ARGV: the length of a part in ms, how many parts there are, must it be counted, the window in ms, so much of each of seven
--   measures, the limit of each or empty.
-- Returns: counted (1 | 0), now, when there is room or empty, what was used of each.

local part, parts, must, window = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1', tonumber(ARGV[4])
local MEASURES = 7
local place = math.floor(now / part)

-- By measure: what was used, and in which parts.
local used, of_part, gone = {}, {}, {}
for m = 1, MEASURES do
  used[m], of_part[m] = 0, {}
end
local all = redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local m, number = string.match(all[i], '^(%d)%.(%d+)$')
  m, number = tonumber(m), tonumber(number)
  if number + parts < place then
    gone[#gone + 1] = all[i]
  else
    used[m] = used[m] + tonumber(all[i + 1])
    of_part[m][number] = tonumber(all[i + 1])
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end

local function limit_of(m)
  local limit = ARGV[4 + MEASURES + m]
  return limit ~= '' and tonumber(limit)
end

local function has_room()
  for m = 1, MEASURES do
    local limit = limit_of(m)
    if limit and used[m] >= limit then return false end
  end
  return true
end

local counted = must or has_room()
if counted then
  local adds = false
  for m = 1, MEASURES do
    local add = tonumber(ARGV[4 + m])
    if add > 0 then
      redis.call('HINCRBY', KEYS[1], m .. '.' .. place, ARGV[4 + m])
      used[m], adds = used[m] + add, true
      of_part[m][place] = (of_part[m][place] or 0) + add
    end
  end
  -- A minute more than it is needed: the server's clock may not be the one that decides.
  if adds then redis.call('PEXPIRE', KEYS[1], part * (parts + 1) + 60000) end
end

-- When so many of the oldest parts have left that there is room.
local room_at
for m = 1, MEASURES do
  local limit = limit_of(m)
  if limit and used[m] >= limit then
    local numbers, left, at = {}, used[m], now + window
    for number in pairs(of_part[m]) do numbers[#numbers + 1] = number end
    table.sort(numbers)
    for _, number in ipairs(numbers) do
      left = left - of_part[m][number]
      if left < limit then
        at = (number + parts + 1) * part
        break
      end
    end
    room_at = math.max(room_at or 0, at)
  end
end

local answer = { counted and '1' or '0', now, room_at and string.format('%.0f', room_at) or '' }
for m = 1, MEASURES do answer[#answer + 1] = string.format('%.0f', used[m]) end
return answer
