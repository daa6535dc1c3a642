-- Reads counters. ARGV: budgets.
local list = budgets(2)
for _, b in ipairs(list) do expire(b) end
return answer('read', list)
