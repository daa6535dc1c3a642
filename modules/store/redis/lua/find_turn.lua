-- Finds a turn by its id. ARGV: user, turn.
-- Returns the id of its session, or false if it is not the newest turn of one.
local id = redis.call('GET', root .. 'i:' .. ARGV[3] .. ':' .. ARGV[2])
if not id then return false end
local t = read(id .. ':' .. ARGV[2])
if not t or t.gone or t.id ~= ARGV[3] then return false end
return id
