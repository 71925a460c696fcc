"""TEMP."""
import numpy as np
import torch

from ltmed.data.batch import Batch
from ltmed.data.samplers import shard
from ltmed.seeding import derive


class TrainLoader:
    def __init__(self, cache, rows, labels, sampler, augment, *, views=1, seed=0, rank=0, world=1, threads=None, pin_memory=False):
        self.__dict__.update(locals()); self.sampler=self; self._s=sampler; self.epoch=0
        shard(sampler.batches(0),rank,world)
    def set_epoch(self,e): self.epoch=e
    def __len__(self): return self._s.steps
    def __iter__(self):
        b=self._s.batches(self.epoch); B=b.shape[1]
        for i,pos in enumerate(shard(b,self.rank,self.world)):
            vs=[]
            for v in range(self.views):
                out=np.empty((len(pos),self.augment.size,self.augment.size,3),np.uint8)
                for j,q in enumerate(pos):
                    g=i*B+self.rank*len(pos)+j
                    self.augment(self.cache.pixels[self.rows[q]],np.random.default_rng(derive(self.seed,self.epoch,g,v)),out[j])
                vs.append(torch.from_numpy(out))
            yield Batch(vs[0],torch.from_numpy(self.labels[pos]),torch.from_numpy(self.rows[pos]),vs[1] if self.views>1 else None)
class EvalLoader:
    def __init__(self, cache, rows, labels, augment, *, batch_size=128, rank=0, world=1, threads=None, pin_memory=False):
        self.cache,self.rows,self.labels,self.augment,self.b=cache,rows[rank::world],labels[rank::world],augment,batch_size
    def __len__(self): return -(-len(self.rows)//self.b)
    def __iter__(self):
        for s in range(0,len(self.rows),self.b):
            r=self.rows[s:s+self.b]; out=np.empty((len(r),self.augment.size,self.augment.size,3),np.uint8)
            for j,q in enumerate(r): self.augment(self.cache.pixels[q],None,out[j])
            yield Batch(torch.from_numpy(out),torch.from_numpy(self.labels[s:s+self.b]),torch.from_numpy(r))
