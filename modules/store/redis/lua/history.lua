-- Reads messages. ARGV: end of the session's keys, user, id, before, after, limit.
-- Returns whether there are more, and then the number and the record of each, in the
-- order of reading: oldest first only with after alone.
local s, id = sessionOf(ARGV[2], ARGV[3]), ARGV[4]
if purge(s, id) == 0 then return false end
local before, after, limit = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local first, next = unpack(redis.call('HMGET', s.meta, 'first', 'next'))
local low, high = math.max(tonumber(first), after + 1), tonumber(next) - 1
if before > 0 then high = math.min(high, before - 1) end

local from, to, step = high, low, -1
if after > 0 and before == 0 then from, to, step = low, high, 1 end
local found = {0}
local size = math.min(limit + 1, 200)
while (to - from) * step >= 0 do
  local seqs = {}
  while #seqs < size and (to - from) * step >= 0 do
    seqs[#seqs + 1] = int(from)
    from = from + step
  end
  for i, m in ipairs(redis.call('HMGET', s.messages, unpack(seqs))) do
    if m then
      if #found > 2 * limit then
        found[1] = 1
        return found
      end
      local _, _, record = split(m)
      found[#found + 1] = seqs[i]
      found[#found + 1] = record
    end
  end
end
return found
