"""The core of images: what a picture is asked with and made of. Pure: no Flask, no SQL, no network."""
