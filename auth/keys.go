package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

const minRSABits = 2048

// methodsFor lists the algorithms a key may verify; none for a key of an
// unknown kind or a weak one. The algorithm follows from the key, never from the token: a
// public key is never an HMAC secret, and "none" is nobody's algorithm.
func methodsFor(key any) []string {
	switch k := key.(type) {
	case []byte:
		return []string{"HS256"}
	case *rsa.PublicKey:
		if k.N.BitLen() >= minRSABits {
			return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return []string{"ES256"}
		case 384:
			return []string{"ES384"}
		case 521:
			return []string{"ES512"}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

// fits reports whether a key may verify tokens of the algorithm.
func fits(key any, alg string) bool { return slices.Contains(methodsFor(key), alg) }

// fixedKey is a key that never changes: a keySource.
type fixedKey struct{ key any }

func (f fixedKey) keyFor(_ context.Context, t *jwt.Token) (any, error) {
	if !fits(f.key, t.Method.Alg()) {
		return nil, ErrAlgorithm
	}
	return f.key, nil
}

func (f fixedKey) methods() []string { return methodsFor(f.key) }
func (f fixedKey) version() uint64   { return 0 }
func (f fixedKey) close()            {}

// readPublicKey reads a PEM file; see Options.PublicKeyFile.
func readPublicKey(path string) (any, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	var key any
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return nil, fmt.Errorf("holds a PEM block %q where PUBLIC KEY or CERTIFICATE is expected", block.Type)
	}
	if err != nil {
		return nil, err
	}
	if len(methodsFor(key)) == 0 {
		return nil, fmt.Errorf("must be RSA of at least %d bits, EC on P-256, P-384 or P-521, or Ed25519", minRSABits)
	}
	return key, nil
}
