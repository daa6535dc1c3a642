package badger

import (
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-chat/caddy-chat/modules/advice"
)

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
		advice.Environment(d, "path", b.Path)
	}
	if d.NextArg() {
		return d.ArgErr()
	}

	once := make(advice.Once)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		switch d.Val() {
		case "encryption_key":
			if err := once.Add(d); err != nil {
				return err
			}
			if !d.NextArg() {
				return d.ArgErr()
			}
			b.EncryptionKey = d.Val()
			if d.NextArg() {
				// Not ArgErr: it quotes what was read last, part of a key.
				return d.Err("encryption_key: want one argument")
			}
			advice.Secret(d, "encryption_key", b.EncryptionKey)
			if err := advice.Check(d, "encryption_key", b.EncryptionKey, checkKey); err != nil {
				return err
			}
		case "sync_writes":
			if d.NextArg() {
				return d.ArgErr()
			}
			b.SyncWrites = true
		default:
			return d.Errf("unrecognized subdirective '%s', want encryption_key or sync_writes%s", d.Val(), advice.Nearest(d.Val(), "encryption_key", "sync_writes"))
		}
	}
	return nil
}

func checkKey(text string) error {
	_, err := parseKey(text)
	return err
}

// Interface guard
var _ caddyfile.Unmarshaler = (*Badger)(nil)
