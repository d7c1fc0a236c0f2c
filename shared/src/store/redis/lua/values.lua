-- values.lua: a part of the prelude for the scripts that read channel values.
-- Reads: val:RUN, a hash of channel@version → JSON.

-- The values of these versions, `channel@version channel@version …`, as name, value, …; an absent one is ''.
local function values_of(id, versions)
  local names, found = {}, {}
  for name in string.gmatch(versions, '[^ ]+') do names[#names + 1] = name end
  for first = 1, #names, 500 do
    local last = math.min(first + 499, #names)
    local got = redis.call('HMGET', P .. 'val:' .. id, unpack(names, first, last))
    for i, value in ipairs(got) do
      found[#found + 1] = names[first + i - 1]
      found[#found + 1] = value or ''
    end
  end
  return found
end
