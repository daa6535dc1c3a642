package badger

import "github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

// UnmarshalCaddyfile sets up the store from Caddyfile tokens. Syntax:
//
//	badger [<dir>] {
//		encryption_key <key>
//		sync_writes
//	}
func (b *Badger) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the store's name

	if d.NextArg() {
		b.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}

	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "encryption_key":
			if b.EncryptionKey != "" {
				return d.Err("encryption_key is given twice")
			}
			if !d.NextArg() {
				return d.ArgErr()
			}
			b.EncryptionKey = d.Val()
			if d.NextArg() {
				// Not ArgErr: it quotes what was read last, part of a key.
				return d.Err("encryption_key: want one argument")
			}
		case "sync_writes":
			if d.NextArg() {
				return d.ArgErr()
			}
			b.SyncWrites = true
		default:
			return d.Errf("unrecognized subdirective '%s'", d.Val())
		}
	}
	return nil
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Badger)(nil)
