"""Two API keys, and the settings of a service that requires one of them."""

from service.auth.api_keys import HashedKey, new_key

KEY, OTHER_KEY = new_key(), new_key()
HASHES = f"{HashedKey.of('frigate', KEY)}, {HashedKey.of('porch', OTHER_KEY)}"
