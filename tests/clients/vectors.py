"""`mrlvec` for psycopg 3, from its documented forms alone, and random vectors of every kind."""

import numpy as np
from psycopg.adapt import Dumper, Loader
from psycopg.pq import Format
from psycopg.types import TypeInfo

MOST_DIMENSIONS = 16_000


class MrlVec:
    """A vector as a client holds it: an array of halfs."""

    def __init__(self, components):
        self.components = np.asarray(components, dtype=np.float16)

    def __eq__(self, other):
        """To the bit: 0 and -0 differ."""
        return self.components.tobytes() == other.components.tobytes()

    def __repr__(self):
        return f"MrlVec({self.components!r})"


class BinaryDumper(Dumper):
    format = Format.BINARY

    def dump(self, vector):
        header = np.array([len(vector.components), 0], ">u2")
        return header.tobytes() + vector.components.astype(">f2").tobytes()


class TextDumper(Dumper):
    format = Format.TEXT

    def dump(self, vector):
        # A half's own shortest form is shorter than a single's: both have to be read right.
        return ("[" + ",".join(str(x) for x in vector.components) + "]").encode()


class BinaryLoader(Loader):
    format = Format.BINARY

    def load(self, data):
        dimensions, unused = np.frombuffer(data, ">u2", 2)
        assert unused == 0
        components = np.frombuffer(data, ">f2", offset=4)
        assert len(components) == dimensions
        return MrlVec(components.astype(np.float16))


class TextLoader(Loader):
    format = Format.TEXT

    def load(self, data):
        text = bytes(data).decode()
        assert text[0] == "[" and text[-1] == "]" and " " not in text
        return MrlVec([np.float32(x) for x in text[1:-1].split(",")])


def register(connection):
    """Makes a connection pass MrlVec as `mrlvec`, and arrays of it."""
    info = TypeInfo.fetch(connection, "mrlvec")
    info.register(connection)
    for dumper in (BinaryDumper, TextDumper):
        kind = type(dumper.__name__, (dumper,), {"oid": info.oid})
        connection.adapters.register_dumper(MrlVec, kind)
    for loader in (BinaryLoader, TextLoader):
        connection.adapters.register_loader(info.oid, loader)


def random_dimensions(generator):
    """1 to 16,000, most of them small, with the lengths at which kernels change their way."""
    kind = generator.integers(4)
    if kind == 0:
        return int(generator.integers(1, 40))
    if kind == 1:
        return int(generator.choice([64, 128, 256, 384, 512, 768, 1024, 3072, MOST_DIMENSIONS]))
    return int(np.exp(generator.uniform(0, np.log(MOST_DIMENSIONS))))


def random_vector(generator, dimensions, largest=4.0):
    """Halfs of one of several kinds; `largest` bounds most, so that sums of products stay finite."""
    kind = generator.integers(5)
    if kind == 0:
        values = generator.standard_normal(dimensions) / np.sqrt(dimensions)
    elif kind == 1:
        values = generator.uniform(-largest, largest, dimensions)
    elif kind == 2:
        # Denormals: below 2^-14.
        values = generator.integers(-1023, 1024, dimensions) * 2.0**-24
    elif kind == 3:
        values = np.where(generator.random(dimensions) < 0.9, 0.0, generator.standard_normal(dimensions))
        values[generator.random(dimensions) < 0.3] *= -1.0
    else:
        values = generator.choice([-1.0, -0.0, 0.0, 1.0, largest], dimensions)
    return values.astype(np.float16)
