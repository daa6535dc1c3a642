-- Drops a hold. ARGV: id.
dropHold(ARGV[2])
return 0
