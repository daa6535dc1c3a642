-- Replaces a hold by what was really used, once. ARGV: id, budgets.
local id, list = ARGV[2], budgets(3, #ARGV)
for _, b in ipairs(list) do expire(b) end
if not isSettled(id) then
  for _, b in ipairs(list) do use(b) end
  dropHold(id)
  redis.call('SET', root .. 'd:' .. id, int(now), 'PX', int(doneFor / 1000))
end
return answer('settled', list)
