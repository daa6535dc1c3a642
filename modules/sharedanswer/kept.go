package sharedanswer

import (
	"context"
	"errors"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-chat/caddy-chat/modules/apierror"
	"github.com/caddy-chat/caddy-chat/modules/store"
)

// The longest answers that are kept, in bytes. They fit every store.
const (
	maxCached = 1 << 20
	maxKeyed  = 8 << 20
)

const storeTimeout = 5 * time.Second

// kept finds an answer that was kept; nil where there is none. A store that
// fails is as good as an empty one where the model can be asked again. It
// cannot where an answer has left a mark that has to hold.
func (p *Replayer) kept(x *Request, rc Recall, tenant string) (*recording, error) {
	if rc.Fresh {
		return nil, nil
	}
	a, err := p.find(x, rc, tenant)
	if err == nil || errors.Is(err, store.ErrNotFound) {
		return a, nil
	}
	p.storeFailed(x, "reading a kept answer", err)
	if rc.Holds != nil && !errors.Is(err, errNoRecording) {
		return nil, apierror.StorageUnavailable(err)
	}
	return nil, nil
}

// find reads the kept answer, nil where it does not hold any more.
func (p *Replayer) find(x *Request, rc Recall, tenant string) (a *recording, err error) {
	err = p.withStore(x, func(ctx context.Context, s store.Store) error {
		value, err := s.CacheGet(ctx, tenant, rc.Key)
		if err != nil {
			return err
		}
		if a, err = decodeRecording(value); err != nil || rc.Holds == nil || a.sum != rc.Sum {
			return err
		}
		holds, err := rc.Holds(ctx, a.note)
		if !holds {
			a = nil
		}
		return err
	})
	return a, err
}

// keep keeps a flight's answer, where it is worth it and not too long. err is
// why there is none, or not all of it.
func (p *Replayer) keep(x *Request, rc Recall, tenant string, f *Flight, err error) {
	a := f.recording(err)
	if a == nil || rc.Holds != nil && a.note == nil {
		return
	}
	if !rc.Keyed && (f.isPartial() || len(a.body) > maxCached) || len(a.body) > maxKeyed {
		return
	}
	a.header = a.header.Clone()
	a.header.Del(HeaderCache)
	a.header.Del("Date") // of a server behind us; later answers have their own
	err = p.withStore(x, func(ctx context.Context, s store.Store) error {
		return s.CachePut(ctx, tenant, rc.Key, a.encode(), rc.Keep)
	})
	if err != nil {
		p.storeFailed(x, "keeping an answer", err)
	}
}

func (p *Replayer) withStore(x *Request, do func(context.Context, store.Store) error) error {
	s, release, err := p.app.Lease()
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(x.R.Context()), storeTimeout)
	defer cancel()
	return do(ctx, s)
}

func (p *Replayer) storeFailed(x *Request, doing string, err error) {
	p.app.StoreFailed("cache")
	p.log.Error(doing, zap.String("tenant", x.Rec.TenantID()), zap.Error(err))
}
