-- Reads counters. ARGV: budgets.
local list = budgets(2, #ARGV)
for _, b in ipairs(list) do expire(b) end
return answer('read', list)
