-- Holds all budgets under an id, or none. ARGV: id, lease, budgets.
local id, lease, list = ARGV[2], tonumber(ARGV[3]), budgets(4, #ARGV)
for _, b in ipairs(list) do expire(b) end
if isSettled(id) then return answer('settled', list, id) end
for _, b in ipairs(list) do
  local x = balance(b, id)
  local own = tonumber(redis.call('HGET', root .. 'a:' .. b.name, id) or 0)
  if b.limit > 0 and b.want > b.limit - x.used - x.held + own then
    return answer('exceeded', list, id)
  end
end
-- what was in the way is told as it was before this hold
local told = answer('held', list, id)
dropHold(id)
local r = root .. 'r:' .. id
for i, b in ipairs(list) do
  local c = counter(b.name)
  redis.call('ZADD', root .. 'h:' .. b.name, int(now + lease), id)
  redis.call('HSET', root .. 'a:' .. b.name, id, int(b.want))
  redis.call('HINCRBY', c, 'held', int(b.want))
  redis.call('SADD', r, b.name)
  keep(root .. 'h:' .. b.name, lease)
  keep(root .. 'a:' .. b.name, lease)
  if redis.call('PTTL', c) >= 0 or redis.call('HEXISTS', c, 'used') == 0 then keep(c, lease) end
end
if #list > 0 then keep(r, lease) end
for i, b in ipairs(list) do
  told[4 * i - 1] = redis.call('HGET', counter(b.name), 'held')
end
return told
