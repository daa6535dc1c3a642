-- Turns. The newest one of a session is a hash: id, node, running, lease (its end),
-- cancelled, gone (with its session), ends (when a finished one may be forgotten).
local function turnOf(ending) return root .. 't:' .. ending end
local function eventsOf(ending, id) return root .. 'e:' .. ending .. ':' .. id end

-- read returns the turn, or nil where there is none, and whether it runs.
local function read(ending)
  local t = {}
  local all = redis.call('HGETALL', turnOf(ending))
  if #all == 0 then return nil end
  for i = 1, #all, 2 do t[all[i]] = all[i + 1] end
  t.running = t.running == '1'
  t.lost = t.running and now >= tonumber(t.lease)
  if not t.running and now >= tonumber(t.ends) then return nil end
  return t
end

-- wake has followers read.
local function wake(ending) redis.call('SPUBLISH', turnOf(ending), '') end
