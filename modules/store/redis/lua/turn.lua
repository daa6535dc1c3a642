-- Turns. The newest one of a session is a hash: id, node, running, lease (its end),
-- cancelled, gone (with its session), ends (when a finished one may be forgotten).
local function turnOf(ending) return root .. 't:' .. ending end
local function eventsOf(ending, id) return root .. 'e:' .. ending .. ':' .. id end

-- foundBy returns the key under which a user's turn is found by its id. The user is
-- what follows the session's id and a colon.
local function foundBy(ending, id) return root .. 'i:' .. id .. ':' .. string.sub(ending, 38) end

-- expire has Redis drop a turn that has ended, after some microseconds.
local function expire(ending, id, us)
  for _, key in ipairs({turnOf(ending), eventsOf(ending, id), foundBy(ending, id)}) do
    redis.call('PEXPIRE', key, int(us / 1000 + 1000))
  end
end

-- forget drops a turn.
local function forget(ending, id)
  redis.call('DEL', turnOf(ending), eventsOf(ending, id), foundBy(ending, id))
end

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

-- isLost reports whether the node of the session's turn is gone.
local function isLost(ending)
  local t = read(ending)
  return t and t.lost and not t.gone
end

-- wake has followers read.
local function wake(ending) redis.call('SPUBLISH', turnOf(ending), '') end

-- publish appends the events of the arguments from one to another (number, kind, data of
-- each) to a turn. It renews the lease, or ends the turn if it is to be kept for some
-- time, and not -1.
local function publish(ending, id, lease, keepFor, from, to)
  local key, events = turnOf(ending), eventsOf(ending, id)
  local last = 0
  if to > from then
    local newest = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)
    if newest[1] then last = tonumber(string.match(newest[1][1], '^%d+')) end
  end
  for i = from, to, 3 do
    -- one that is there already was sent by a call whose answer got lost
    if tonumber(ARGV[i]) > last then
      redis.call('XADD', events, ARGV[i] .. '-0', 'k', ARGV[i + 1], 'd', ARGV[i + 2])
    end
  end
  if keepFor < 0 then
    redis.call('HSET', key, 'lease', int(now + lease))
    keep(key, lease + 3600 * 1000000)
    keep(events, lease + 3600 * 1000000)
    -- events come more often than its time runs out
    if to < from then keep(foundBy(ending, id), lease + 3600 * 1000000) end
  elseif keepFor == 0 then
    forget(ending, id)
  else
    redis.call('HSET', key, 'running', 0, 'ends', int(now + keepFor))
    expire(ending, id, keepFor)
  end
  if to > from or keepFor >= 0 then wake(ending) end
end

-- claimable returns what claim does for a session whose newest turn is t.
local function claimable(t, id)
  if not (t and t.running) or t.id == id and not t.gone then return 1 end
  if not t.lost then return 0 end
  return t.gone and 1 or 3
end

-- claim makes a turn the running one of its session. It returns 1, 0 if another one
-- runs, or 3 if the node of another one is gone.
local function claim(ending, id, node, lease)
  local key, t = turnOf(ending), read(ending)
  local code = claimable(t, id)
  if code ~= 1 then return code end
  if t and (t.id ~= id or t.gone) then t = nil end
  if not (t and t.running) then
    local earlier = redis.call('HGET', key, 'id')
    if earlier then redis.call('DEL', foundBy(ending, earlier)) end
    redis.call('DEL', key)
    redis.call('HSET', key, 'id', id, 'running', 1)
    redis.call('SET', foundBy(ending, id), string.sub(ending, 1, 36))
    keep(foundBy(ending, id), lease + 3600 * 1000000)
  end
  redis.call('HSET', key, 'node', node, 'lease', int(now + lease))
  keep(key, lease + 3600 * 1000000)
  wake(ending)
  return 1
end

-- claimFirst claims and appends the first event, which the arguments have from one on.
local function claimFirst(ending, id, node, lease, event)
  local code = claim(ending, id, node, lease)
  if code == 1 then publish(ending, id, lease, -1, event, event + 2) end
  return code
end
