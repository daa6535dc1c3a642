-- Lists a user's sessions, newest first. ARGV: user, limit, and the time and the id of
-- the session to go on after, or empty.
-- Returns whether there are more, and then of each: id, updated, title, created, count,
-- and whether the node of its turn is gone.
local user, limit, list = ARGV[2], tonumber(ARGV[3]), root .. 'u:' .. ARGV[2]
local high = ARGV[4] == '' and '+inf' or ARGV[4]
local found, offset = {0}, 0
while true do
  local page = redis.call('ZREVRANGEBYSCORE', list, high, '-inf', 'WITHSCORES', 'LIMIT', offset, 100)
  if #page == 0 then return found end
  for i = 1, #page, 2 do
    local id, updated = page[i], page[i + 1]
    if not (updated == ARGV[4] and id >= ARGV[5]) then
      local ending = id .. ':' .. user
      local s = sessionOf(ending, user)
      local n = purge(s, id)
      if n > 0 then
        if #found > 6 * limit then
          found[1] = 1
          return found
        end
        local meta = redis.call('HMGET', s.meta, 'title', 'created')
        for _, v in ipairs({id, updated, meta[1], meta[2], int(n), isLost(ending) and 1 or 0}) do found[#found + 1] = v end
        offset = offset + 1
      end
    else
      offset = offset + 1
    end
  end
end
